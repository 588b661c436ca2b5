//! Files for other programs: weights by name, and whole networks ([`trace()`]) as ONNX, PyTorch code or a drawing.

pub mod fold;
pub mod names;
pub mod onnx;
pub mod safetensors;
pub mod torch;
pub mod trace;
pub mod verify;

pub use fold::fold_norms;
pub use trace::trace;
