//! The samples of a batch made in several threads at once, with results in the order of the samples.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::error::Result;

/// `make` of 0, 1, .. `n` - 1, by at most `threads` threads, the calling one among them; what it gives depends on neither their number nor
/// their speed. After an error nothing new is begun.
///
/// # Errors
/// The one of the lowest number.
pub fn each<T: Send>(
    n: usize,
    threads: usize,
    make: &(dyn Fn(usize) -> Result<T> + Sync),
) -> Result<Vec<T>> {
    let threads = threads.min(n);
    if threads <= 1 {
        return (0..n).map(make).collect();
    }
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut done = vec![];
        while !failed.load(Ordering::Relaxed) {
            // In rising order: of an error, all lower numbers were begun before and are finished.
            let slot = next.fetch_add(1, Ordering::Relaxed);
            if slot >= n {
                break;
            }
            let made = make(slot);
            if made.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            done.push((slot, made));
        }
        done
    };
    let mut all = thread::scope(|scope| {
        // Where the system has no thread left there is less help.
        let start = |_| {
            let builder = thread::Builder::new().name("loader-help".into());
            builder.spawn_scoped(scope, work).ok()
        };
        let helpers: Vec<_> = (1..threads).filter_map(start).collect();
        let mut all = work();
        for helper in helpers {
            match helper.join() {
                Ok(done) => all.extend(done),
                Err(panic) => resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(slot, _)| *slot);
    all.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, Error};
    use std::time::Duration;

    #[test]
    fn results_and_errors_are_those_of_one_thread() {
        for threads in 0..9 {
            let double = |i: usize| {
                thread::sleep(Duration::from_micros((i as u64 * 7) % 5 * 100));
                Ok(2 * i)
            };
            let want: Vec<usize> = (0..20).map(|i| 2 * i).collect();
            assert_eq!(each(20, threads, &double).unwrap(), want);
            assert!(each(0, threads, &double).unwrap().is_empty());
            let some_fail = |i: usize| match i % 7 {
                // The lowest comes last.
                5 if i == 5 => {
                    thread::sleep(Duration::from_millis(2));
                    Err(Error::new(Code::BadImage, "5"))
                }
                5 => Err(Error::new(Code::BadImage, i.to_string())),
                _ => Ok(i),
            };
            assert_eq!(each(20, threads, &some_fail).unwrap_err().message(), "5");
        }
    }

    #[test]
    fn a_panic_keeps_its_words() {
        let bad = |i: usize| {
            assert!(i != 3, "planted");
            Ok(i)
        };
        let panic = std::panic::catch_unwind(|| each(8, 3, &bad)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"planted"));
    }
}
