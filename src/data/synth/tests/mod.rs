//! The made-up scenes are what they claim to be, and not solved by colour alone.

mod blobs;
mod colour;
mod files;
