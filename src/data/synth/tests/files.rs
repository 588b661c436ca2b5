//! Folders, formats, labels.
