//! What the contract suite of the stores is made of: random worlds, random questions, and naive answers.

pub mod changes;
pub mod questions;
pub mod reference;
pub mod world;

pub use world::World;
