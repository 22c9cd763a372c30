//! The binary in a process that does not outlive its test.

use std::process::{Child, Command, ExitStatus, Stdio};

use super::watch::until;

pub struct Running(pub Child);

/// The binary, without what the environment of the test may say to it.
pub fn switchboard(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchboard"));
    let ours = |name: &str| name.starts_with("SWITCHBOARD") || name.starts_with("OTEL_");
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.env_remove("RUST_LOG").args(arguments);
    command.stdin(Stdio::null());
    command
}

impl Running {
    pub fn spawn(mut command: Command) -> Running {
        Running(command.spawn().unwrap())
    }

    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    pub fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args([name, &id]).status().unwrap();
        assert!(sent.success());
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the process has ended", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    pub async fn exit_code(&mut self) -> i32 {
        let status = self.ended().await;
        status.code().expect("it was not killed")
    }

    /// What SIGKILL does.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
