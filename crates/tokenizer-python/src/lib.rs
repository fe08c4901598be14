//! The extension module of the Python package `tcp_flows`.
//!
//! Each module here is a face of Rust crates: [`programs`] calls the programs with words of their
//! command lines, [`stream`] hands datasets on through the Arrow C data interface, [`corpus`] packs
//! flows for training, [`grammar`] follows the mask. `python/tcp_flows` has the names that users
//! import. No fact about columns, tokens or options is in this package.

mod arrays;
mod corpus;
mod error;
mod grammar;
mod packets;
mod programs;
mod stream;

use pyo3::prelude::*;
use tokenizer::field;

/// Rust side of the package `tcp_flows`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    arrowio::silence_panics();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("TOKEN_CODE", field::NAME)?;
    module.add("TOKEN_VERSION", field::VERSION)?;
    module.add("VOCAB_SIZE", field::VOCAB_SIZE)?;
    module.add("BOS", field::BOS)?;
    module.add("END", field::END)?;
    module.add_class::<corpus::Corpus>()?;
    module.add_class::<corpus::Rows>()?;
    module.add_class::<grammar::Grammar>()?;
    module.add_class::<stream::Stream>()?;
    module.add_function(wrap_pyfunction!(grammar::describe, module)?)?;
    module.add_function(wrap_pyfunction!(programs::call, module)?)?;
    module.add_function(wrap_pyfunction!(programs::decode, module)?)?;
    module.add_function(wrap_pyfunction!(programs::encode, module)?)?;
    module.add_function(wrap_pyfunction!(programs::main, module)?)?;
    module.add_function(wrap_pyfunction!(stream::columns, module)?)?;
    module.add_function(wrap_pyfunction!(stream::read, module)?)?;
    Ok(())
}
