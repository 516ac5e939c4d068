//! A gateway in a process of its own, its configuration file, and servers behind it.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let waited = timeout(PATIENCE, async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect("it comes about in time");
}

/// A gateway.
pub(crate) struct Setting {
    directory: TempDir,
    process: Child,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    admin: SocketAddr,
}

impl Setting {
    /// Starts a gateway that serves this.
    pub(crate) async fn start(served: &str) -> Self {
        Self::start_in(TempDir::new().unwrap(), served).await
    }

    async fn start_in(directory: TempDir, served: &str) -> Self {
        let process = spawn(&directory, served);
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut setting = Self { directory, process, address: nowhere, tls_address: None, admin: nowhere };
        setting.is_up(1).await;
        setting
    }

    /// A gateway in whose directory these files are.
    pub(crate) async fn with_files(files: &[(&str, &str)], served: &str) -> Self {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        Self::start_in(directory, served).await
    }

    /// The same, with one who may sign, and to whom a policy says this.
    pub(crate) async fn signed(served: &str, effect: &str) -> Self {
        let directory = TempDir::new().unwrap();
        write_credentials(&directory, effect);
        Self::start_in(directory, &format!("[gateway]\niam_credentials_file = \"callers\"\n{served}")).await
    }

    /// From now on the policy allows it.
    pub(crate) fn allow(&self) {
        write_credentials(&self.directory, "Allow");
    }

    /// What curl gets when it signs.
    pub(crate) fn signed_get(&self, path: &str) -> String {
        let user = format!("{ACCESS_KEY}:{SECRET_KEY}");
        let url = format!("http://{}{path}", self.address);
        let curl = Command::new("curl")
            .args(["-s", "--max-time", "30", "--aws-sigv4", "aws:amz:us-east-1:execute-api", "--user", &user, &url])
            .output()
            .unwrap();
        assert!(curl.status.success(), "{curl:?}");
        String::from_utf8(curl.stdout).unwrap()
    }

    /// Waits until it has started so many times, and notes where it listens.
    async fn is_up(&mut self, times: usize) {
        let starts = || -> Vec<serde_json::Value> {
            let log = self.log();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            lines.filter(|line| line["message"] == "gateway listens").collect()
        };
        until(|| async { starts().len() >= times }).await;
        let start = starts().pop().unwrap();
        let address = |key: &str| start[key].as_str().map(|text| text.parse().unwrap());
        (self.address, self.tls_address, self.admin) =
            (address("address").unwrap(), address("tls"), address("admin").unwrap());
    }

    /// Where it serves by TLS.
    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.tls_address.unwrap()
    }

    /// Kills it, and starts it again on the same directory.
    pub(crate) async fn kill_and_start(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let config = fs::read_to_string(self.path("weir.toml")).unwrap();
        let (_, served) = config.split_once("# served\n").unwrap();
        self.process = spawn(&self.directory, served);
        self.is_up(2).await;
    }

    /// Puts another configuration in place, at once.
    pub(crate) fn write(&self, served: &str) {
        fs::write(self.path("new.toml"), configuration(served)).unwrap();
        fs::rename(self.path("new.toml"), self.path("weir.toml")).unwrap();
    }

    /// SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal("-HUP");
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let told = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(told.success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of the gateway's directory.
    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The records that it has written to the file RECORDS, once there are so many.
    pub(crate) async fn records(&self, count: usize) -> Vec<serde_json::Value> {
        until(|| async { self.file("RECORDS").lines().count() >= count }).await;
        let text = self.file("RECORDS");
        assert_eq!(text.lines().count(), count, "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The memory that it takes, KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Writes a file into its directory, at once.
    pub(crate) fn put(&self, name: &str, text: &str) {
        fs::write(self.path("put"), text).unwrap();
        fs::rename(self.path("put"), self.path(name)).unwrap();
    }

    /// The path of a file of its directory.
    pub(crate) fn named(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        self.file("log")
    }

    /// Sends bytes; all that comes until the gateway closes the connection.
    pub(crate) async fn send(&self, bytes: &str) -> String {
        send(self.address, bytes).await
    }

    /// Asks for a path, on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")).await
    }

    /// A page of the admin address, with its head.
    pub(crate) async fn admin(&self, path: &str) -> String {
        send(self.admin, &format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")).await
    }

    /// Its self metrics.
    pub(crate) async fn metrics(&self) -> String {
        self.admin("/metrics").await
    }

    /// A connection that stays, on which these bytes were sent.
    pub(crate) async fn open(&self, bytes: &str) -> Open {
        let mut open = Open { stream: TcpStream::connect(self.address).await.unwrap(), read: String::new() };
        open.send(bytes).await;
        open
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// AWS's own example of a key.
const ACCESS_KEY: &str = "AKIDEXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn write_credentials(directory: &TempDir, effect: &str) {
    let policy = format!("{{\"Statement\":[{{\"Effect\":\"{effect}\",\"Action\":\"*\",\"Resource\":\"*\"}}]}}");
    let text =
        format!("[alice]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\npolicy = {policy}\n");
    fs::write(directory.path().join("new-callers"), text).unwrap();
    fs::rename(directory.path().join("new-callers"), directory.path().join("callers")).unwrap();
}

fn configuration(served: &str) -> String {
    let (more, served) = match served.strip_prefix("[gateway]\n") {
        Some(rest) => rest.split_once('\n').unwrap(),
        None => ("", served),
    };
    format!(
        "[gateway]\n{more}\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nthreads = 2\n\
         [gateway.telemetry]\ncollector = \"http://127.0.0.1:1\"\nspool_directory = \"off\"\nshutdown_deadline = \"1ms\"\n\
         # served\n{served}"
    )
}

fn spawn(directory: &TempDir, served: &str) -> Child {
    fs::write(directory.path().join("weir.toml"), configuration(served)).unwrap();
    let log = fs::File::options().create(true).append(true).open(directory.path().join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_weir-gateway"))
        .args(["--config", "weir.toml"])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

async fn send(address: SocketAddr, bytes: &str) -> String {
    let work = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    timeout(PATIENCE, work).await.expect("an answer in time")
}

/// A connection that stays.
pub(crate) struct Open {
    stream: TcpStream,
    read: String,
}

impl Open {
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads so many bytes and forgets them.
    pub(crate) async fn skip(&mut self, bytes: u64) {
        let mut body = (&mut self.stream).take(bytes);
        let skipped = timeout(PATIENCE, tokio::io::copy(&mut body, &mut tokio::io::sink())).await;
        assert_eq!(skipped.expect("it comes in time").unwrap(), bytes);
    }

    /// Sends so many zeros.
    pub(crate) async fn send_zeros(&mut self, bytes: u64) {
        let zeros = &mut tokio::io::repeat(0).take(bytes);
        timeout(PATIENCE, tokio::io::copy(zeros, &mut self.stream)).await.expect("they are taken in time").unwrap();
    }

    /// Reads byte by byte, not beyond this text.
    pub(crate) async fn until_exactly(&mut self, text: &str) {
        let work = async {
            while !self.read.ends_with(text) {
                self.read.push(self.stream.read_u8().await.unwrap().into());
            }
        };
        timeout(PATIENCE, work).await.expect("it comes in time");
        self.read.clear();
    }

    /// All that comes until this text has come, and what came with it.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let work = async {
            while !self.read.contains(text) {
                let mut buffer = [0; 4_096];
                let count = self.stream.read(&mut buffer).await.unwrap();
                assert!(count > 0, "the connection ended before {text:?}: {}", self.read);
                self.read.push_str(&String::from_utf8_lossy(&buffer[..count]));
            }
        };
        timeout(PATIENCE, work).await.expect("it comes in time");
        std::mem::take(&mut self.read)
    }
}

/// A server behind the gateway, which notes the heads that it gets.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    go_on: Arc<Notify>,
    _tasks: JoinSet<()>,
}

/// What a server does when it was asked.
#[derive(Clone, Copy)]
enum Manners {
    Answers,
    BreaksOff,
    SaysNothing,
}

impl Server {
    /// One that answers.
    pub(crate) async fn start() -> Self {
        Self::with(Manners::Answers).await
    }

    /// One that closes its connection when it was asked.
    pub(crate) async fn rude() -> Self {
        Self::with(Manners::BreaksOff).await
    }

    /// One that never answers.
    pub(crate) async fn silent() -> Self {
        Self::with(Manners::SaysNothing).await
    }

    /// An address where nobody listens, and what keeps others from it.
    pub(crate) fn closed() -> (SocketAddr, TcpSocket) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        (socket.local_addr().unwrap(), socket)
    }

    /// The heads of the requests that it got.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Lets it send the second event.
    pub(crate) fn go_on(&self) {
        self.go_on.notify_one();
    }

    async fn with(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, go_on) = (Arc::default(), Arc::new(Notify::new()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, manners, Arc::clone(&seen), Arc::clone(&go_on)));
        Self { address, seen, go_on, _tasks: tasks }
    }
}

async fn accept(listener: TcpListener, manners: Manners, seen: Arc<Mutex<Vec<String>>>, go_on: Arc<Notify>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(serve(stream, manners, Arc::clone(&seen), Arc::clone(&go_on)));
    }
}

async fn serve(mut stream: TcpStream, manners: Manners, seen: Arc<Mutex<Vec<String>>>, go_on: Arc<Notify>) {
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte.into());
        }
        let is_events = head.starts_with("GET /events");
        let is_websocket = head.contains("upgrade: websocket\r\n");
        seen.lock().unwrap().push(head);
        match manners {
            Manners::BreaksOff => return,
            Manners::SaysNothing => std::future::pending::<()>().await,
            Manners::Answers if is_events => {
                let begin =
                    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\ndata: first\n\n";
                stream.write_all(begin.as_bytes()).await.unwrap();
                go_on.notified().await;
                stream.write_all(b"data: second\n\n").await.unwrap();
                return;
            }
            Manners::Answers if is_websocket => {
                let begin = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                stream.write_all(begin.as_bytes()).await.unwrap();
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                return;
            }
            Manners::Answers => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap(),
        }
    }
}
