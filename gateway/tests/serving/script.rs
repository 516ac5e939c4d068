//! A server behind the gateway that does what a test says, request by request.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

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

#[derive(Default)]
struct Noted {
    heads: Mutex<Vec<String>>,
    closed: AtomicUsize,
}

/// A server.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    noted: Arc<Noted>,
    _tasks: JoinSet<()>,
}

impl Scripted {
    /// One that does what `act` says of a head.
    pub(crate) async fn start(act: fn(&str) -> Act) -> Self {
        Self::start_with(act, None).await
    }

    /// The same, by TLS.
    pub(crate) async fn start_tls(act: fn(&str) -> Act, tls: TlsAcceptor) -> Self {
        Self::start_with(act, Some(tls)).await
    }

    async fn start_with(act: fn(&str) -> Act, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let noted = Arc::<Noted>::default();
        let mut tasks = JoinSet::new();
        let own = Arc::clone(&noted);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, noted) = (tls.clone(), Arc::clone(&own));
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, act, noted).await,
                        // A client that does not like the certificate goes.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, act, noted).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, noted, _tasks: tasks }
    }

    /// The heads that it got, in small letters.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.noted.heads.lock().unwrap().clone()
    }

    /// Of the connections that it closed, how many the gateway has closed too.
    pub(crate) fn closed(&self) -> usize {
        self.noted.closed.load(SeqCst)
    }
}

async fn serve<S>(mut stream: S, act: fn(&str) -> Act, noted: Arc<Noted>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte.into());
        }
        let act = act(&head);
        noted.heads.lock().unwrap().push(head.to_ascii_lowercase());
        // The gateway may be gone at any time: its client went, or the test is over.
        let went = match act {
            Act::Answer(text) => stream.write_all(text.as_bytes()).await,
            Act::AnswerAndClose(text) => {
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_u8().await;
                noted.closed.fetch_add(1, SeqCst);
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
        if went.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}
