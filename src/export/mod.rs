//! Files for other programs.

pub mod safetensors;
