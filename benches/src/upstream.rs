//! `upstream`: the server behind the gateways that are measured. One thread, one fixed answer, and next to nothing of
//! its own: whatever asks it is what is measured.
//!
//! It knows as much of HTTP/1.1 as it is sent here: requests without a body, one after another on a connection.

use std::net::SocketAddr;

use clap::Parser;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The most that a request's head may take, bytes.
const MOST_HEAD_BYTES: usize = 16 << 10;

/// Answers every request with the same bytes.
#[derive(Debug, Parser)]
#[command(name = "upstream")]
struct Arguments {
    /// Where it listens; it prints the address, port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Bytes of the body.
    #[arg(long, default_value_t = 128)]
    body: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let body: String = "{\"answer\":42}".chars().cycle().take(arguments.body).collect();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\ncache-control: no-store\r\n\r\n{body}",
        body.len()
    );
    // The connections live as long as the process.
    let answer: &'static [u8] = answer.into_bytes().leak();
    let listener = TcpListener::bind(arguments.listen).await?;
    #[expect(clippy::print_stdout, reason = "the address is this program's output")]
    {
        println!("{}", listener.local_addr()?);
    }
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                connections.spawn(serve(stream, answer));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A connection, request after request; its end is its client's business.
async fn serve(mut stream: TcpStream, answer: &'static [u8]) -> std::io::Result<()> {
    let mut head = vec![0; MOST_HEAD_BYTES];
    let mut filled = 0;
    loop {
        let read = stream.read(&mut head[filled..]).await?;
        if read == 0 {
            return Ok(());
        }
        filled += read;
        while let Some(end) = head_end(&head[..filled]) {
            head.copy_within(end..filled, 0);
            filled -= end;
            stream.write_all(answer).await?;
        }
        if filled == head.len() {
            return Err(std::io::Error::other("the head is too large"));
        }
    }
}

/// Where the first head ends, behind its empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}
