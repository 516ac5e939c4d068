//! A server behind the gateway that does what a test says, request by request.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// What the server does when it has read a head.
pub(crate) enum Act {
    /// Answers, and reads the next one.
    Answer(String),
    /// Answers, and closes the connection without having said so.
    AnswerAndClose(String),
    /// Writes so many bytes of zeros after this head, and reads the next one.
    Zeros(String, u64),
    /// Reads so many bytes, answers, and reads the next one.
    Swallow(u64, String),
    /// Says nothing, for ever.
    Silence,
}

/// A server.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    /// One that does what `act` says of a head.
    pub(crate) async fn start(act: fn(&str) -> Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let mut tasks = JoinSet::new();
        let noted = Arc::clone(&seen);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, act, Arc::clone(&noted)));
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    /// The heads that it got, in small letters.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, act: fn(&str) -> Act, seen: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte.into());
        }
        let act = act(&head);
        seen.lock().unwrap().push(head.to_ascii_lowercase());
        // The gateway may be gone at any time: its client went, or the test is over.
        let went = match act {
            Act::Answer(text) => stream.write_all(text.as_bytes()).await,
            Act::AnswerAndClose(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                return;
            }
            Act::Zeros(text, bytes) => {
                let zeros = &mut tokio::io::repeat(0).take(bytes);
                match stream.write_all(text.as_bytes()).await {
                    Ok(()) => tokio::io::copy(zeros, &mut stream).await.map(drop),
                    Err(error) => Err(error),
                }
            }
            Act::Swallow(bytes, text) => {
                let mut body = (&mut stream).take(bytes);
                let swallowed = tokio::io::copy(&mut body, &mut tokio::io::sink()).await;
                assert!(swallowed.is_ok_and(|own| own == bytes), "the whole body comes");
                stream.write_all(text.as_bytes()).await
            }
            Act::Silence => std::future::pending().await,
        };
        if went.is_err() {
            return;
        }
    }
}
