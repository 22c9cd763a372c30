//! Generates the messages and services from every proto below `proto/`, without protoc.

use std::path::{Path, PathBuf};
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let root = Path::new("proto");
    println!("cargo::rerun-if-changed=proto");

    let mut compiler = protox::Compiler::new([root])?;
    // Comments are the API documentation, so reflection has to serve them.
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(protos_below(root)?)?;

    // Encoded by protox, not re-encoded from prost's types: those drop the
    // options that they do not know.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    tonic_prost_build::configure()
        .codec_path("crate::pb::codec::Codec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn protos_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(protos_below(&path)?);
        } else if path.extension().is_some_and(|end| end == "proto") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
