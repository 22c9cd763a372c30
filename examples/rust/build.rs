//! Generates messages and a client from the protos, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../proto");
    let protos = protox::compile(["contactcenter/v1/sms_session_data.proto"], ["../../proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(protos)?;
    Ok(())
}
