//! The service over a real tree, through a door that only collects.

mod asks;
mod control;
mod limits;
mod support;
