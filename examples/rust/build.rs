//! Generates the client from the protos. protox reads them in Rust, so that no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../proto");
    let descriptors = protox::compile(
        [
            "contactcenter/v1/errors.proto",
            "contactcenter/v1/sms_session_data.proto",
        ],
        ["../../proto"],
    )?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(descriptors)?;
    Ok(())
}
