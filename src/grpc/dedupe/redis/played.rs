//! A Redis played by hand, for what a real one cannot be brought to do on demand: it greets whoever
//! connects, and what it says to each script is the test's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::upstream::secret::Secret;

pub(super) struct Played {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<Question>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Claim,
    Finish,
    Release,
    Replace,
    /// What is said before the first script.
    Greeting,
}

pub(super) enum Step {
    Say(&'static str),
    SayAndClose(&'static str),
    /// And nothing after it on this connection.
    Hang,
    Close,
}

pub(super) const MINE: Step = Step::Say("*1\r\n$4\r\nmine\r\n");
pub(super) const RUNNING: Step = Step::Say("*1\r\n$7\r\nrunning\r\n");
/// What releases, finishes and replaces are told.
pub(super) const DONE: Step = Step::Say("*1\r\n$4\r\ndone\r\n");
pub(super) const GREETED: Step = Step::Say("+OK\r\n");

impl Played {
    /// `play` is given the number of the connection, from 1 on, and what is asked on it.
    pub(super) async fn start(
        play: impl Fn(usize, Question) -> Step + Send + Sync + 'static,
    ) -> Played {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let played = Played {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            asked: Arc::default(),
        };
        let (connections, asked) = (Arc::clone(&played.connections), Arc::clone(&played.asked));
        let play = Arc::new(play);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::Relaxed) + 1;
                let (play, asked) = (Arc::clone(&play), Arc::clone(&asked));
                tokio::spawn(async move {
                    let step = |question| {
                        asked.lock().unwrap().push(question);
                        play(number, question)
                    };
                    // Who is asked no more has nothing to say.
                    let _ = serve(stream, step).await;
                });
            }
        });
        played
    }

    pub(super) fn address(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(super) fn url(&self) -> Secret {
        Secret::fixed(self.address())
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// How often it was asked this.
    pub(super) fn count(&self, question: Question) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|it| **it == question).count()
    }
}

async fn serve(stream: TcpStream, step: impl Fn(Question) -> Step) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let words = read(&mut stream).await?;
        match step(Question::of(&words)) {
            Step::Say(answer) => stream.write_all(answer.as_bytes()).await?,
            Step::Hang => std::future::pending().await,
            Step::SayAndClose(answer) => return stream.write_all(answer.as_bytes()).await,
            Step::Close => return Ok(()),
        }
    }
}

/// A command, as all clients write it: an array of strings, each with its length.
async fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<String>> {
    let mut words = Vec::new();
    for _ in 0..length(stream, '*').await? {
        let mut word = vec![0; length(stream, '$').await? + 2];
        stream.read_exact(&mut word).await?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Ok(words)
}

async fn length(stream: &mut BufReader<TcpStream>, kind: char) -> std::io::Result<usize> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let length = line.trim_end().strip_prefix(kind);
    Ok(length.and_then(|it| it.parse().ok()).expect("a length"))
}

impl Question {
    fn of(words: &[String]) -> Question {
        match &words[1][..] {
            include_str!("claim.lua") => Question::Claim,
            include_str!("finish.lua") => Question::Finish,
            include_str!("release.lua") => Question::Release,
            include_str!("replace.lua") => Question::Replace,
            _ => Question::Greeting,
        }
    }
}
