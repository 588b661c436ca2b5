//! Streams, events and recorded sequences of devices that do everything at once: the emulated and the recording one.

use std::sync::Arc;
use std::time::Instant;

use super::driver::{Arg, DevicePtr, Event, Fetch, Graph, Kernel, Launch, Stream};
use crate::error::{Code, Error, Result};

/// Something put on a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// A kernel over a grid.
    Launch(Kernel, Launch, Vec<Arg>),
    /// `bytes` from the second address to the first.
    Copy(DevicePtr, DevicePtr, usize),
    /// Every one of `bytes` bytes set.
    Fill(DevicePtr, u8, usize),
    /// A life of so many bytes begins.
    Renew(DevicePtr, usize),
}

/// The streams of one device.
#[derive(Default)]
pub struct Queue {
    streams: u32,
    capturing: Option<(Stream, Vec<Command>)>,
    graphs: Vec<Option<Arc<[Command]>>>,
    events: Vec<Instant>,
    fetches: Vec<Option<Vec<u8>>>,
}

fn refuse<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::new(Code::Device, text))
}

impl Queue {
    fn known(&self, on: Stream) -> Result<()> {
        match on.0 <= self.streams {
            true => Ok(()),
            false => refuse(format!("there is no stream {}", on.0)),
        }
    }

    /// A new stream.
    pub fn stream(&mut self) -> Stream {
        self.streams += 1;
        Stream(self.streams)
    }

    /// A point in time: everything before it is done already.
    ///
    /// # Errors
    /// `Device` for an unknown stream.
    pub fn event(&mut self, on: Stream) -> Result<Event> {
        self.known(on)?;
        self.events.push(Instant::now());
        Ok(Event(self.events.len() as u32 - 1))
    }

    fn passed(&self, e: Event) -> Result<Instant> {
        let at = self.events.get(e.0 as usize).copied();
        at.map_or_else(|| refuse(format!("there is no event {}", e.0)), Ok)
    }

    /// Checks that both are there; the event has passed.
    ///
    /// # Errors
    /// `Device` for an unknown stream or event.
    pub fn wait(&self, on: Stream, e: Event) -> Result<()> {
        self.known(on)?;
        self.passed(e).map(drop)
    }

    /// Milliseconds between two events.
    ///
    /// # Errors
    /// `Device` for an unknown event.
    pub fn elapsed(&self, from: Event, to: Event) -> Result<f64> {
        let time = self.passed(to)?.duration_since(self.passed(from)?);
        Ok(time.as_secs_f64() * 1e3)
    }

    /// `command` back when it is to be done now, `None` when it was recorded.
    ///
    /// # Errors
    /// `Device` for an unknown stream.
    pub fn put(&mut self, on: Stream, command: Command) -> Result<Option<Command>> {
        self.known(on)?;
        Ok(match &mut self.capturing {
            Some((stream, all)) if *stream == on => {
                all.push(command);
                None
            }
            _ => Some(command),
        })
    }

    /// Refuses `what` while a sequence is recorded.
    ///
    /// # Errors
    /// `Device` then.
    pub fn outside_capture(&self, what: &str) -> Result<()> {
        match self.capturing {
            Some(_) => refuse(format!("{what} while a graph is recorded")),
            None => Ok(()),
        }
    }

    /// Starts to record.
    ///
    /// # Errors
    /// `Device` for an unknown stream or when one is recorded already.
    pub fn begin_capture(&mut self, on: Stream) -> Result<()> {
        self.known(on)?;
        self.outside_capture("recording began")?;
        self.capturing = Some((on, vec![]));
        Ok(())
    }

    /// Ends the record.
    ///
    /// # Errors
    /// `Device` when none was begun on this stream.
    pub fn end_capture(&mut self, on: Stream) -> Result<Graph> {
        match self.capturing.take() {
            Some((stream, all)) if stream == on => {
                self.graphs.push(Some(all.into()));
                Ok(Graph(self.graphs.len() as u32 - 1))
            }
            other => {
                self.capturing = other;
                refuse(format!("nothing is recorded on stream {}", on.0))
            }
        }
    }

    /// The commands of a record.
    ///
    /// # Errors
    /// `Device` for an unknown stream or graph.
    pub fn graph(&self, on: Stream, g: Graph) -> Result<Arc<[Command]>> {
        self.known(on)?;
        self.outside_capture("a graph was begun")?;
        let all = self.graphs.get(g.0 as usize).cloned().flatten();
        all.map_or_else(|| refuse(format!("there is no graph {}", g.0)), Ok)
    }

    /// Gives a record up.
    ///
    /// # Errors
    /// `Device` for an unknown graph.
    pub fn forget(&mut self, g: Graph) -> Result<()> {
        let slot = self.graphs.get_mut(g.0 as usize);
        match slot.and_then(Option::take) {
            Some(_) => Ok(()),
            None => refuse(format!("there is no graph {}", g.0)),
        }
    }

    /// Keeps what a copy to the host brought.
    ///
    /// # Errors
    /// `Device` while a sequence is recorded.
    pub fn fetch(&mut self, bytes: Vec<u8>) -> Result<Fetch> {
        self.outside_capture("a download")?;
        let free = self.fetches.iter().position(Option::is_none);
        let at = free.unwrap_or(self.fetches.len());
        self.fetches.resize(self.fetches.len().max(at + 1), None);
        self.fetches[at] = Some(bytes);
        Ok(Fetch(at as u32))
    }

    /// Hands it over.
    ///
    /// # Errors
    /// `Device` for an unknown copy.
    pub fn fetched(&mut self, f: Fetch, data: &mut [u8]) -> Result<()> {
        let slot = self.fetches.get_mut(f.0 as usize);
        match slot.and_then(Option::take) {
            Some(bytes) => {
                data.copy_from_slice(&bytes);
                Ok(())
            }
            None => refuse(format!("there is no copy {} under way", f.0)),
        }
    }
}
