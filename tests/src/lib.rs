//! What the tests of promises share.

pub mod fixture;
pub mod history;
pub mod matching;
pub mod observed;
pub mod planted_service;
pub mod port;
pub mod program;
pub mod store_contract;
pub mod tier;
