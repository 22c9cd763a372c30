//! The list of vendors. Adding one means a folder beside these and a line in each place that
//! lists them: here, in the configuration, and in the composition root.

pub mod aicc;
pub mod genesys;
#[cfg(test)]
mod testing;
