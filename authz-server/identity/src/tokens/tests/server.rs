//! A real server of keys, which does as it is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What is done to whoever asks.
#[derive(Debug, Clone)]
pub(super) enum Behaviour {
    /// 200 with this body.
    Keys(String),
    /// These bytes, whatever they mean, and the end of the connection.
    Bytes(Vec<u8>),
    /// A body of so many bytes without its length, for as long as somebody listens.
    Endless { piece: usize },
    /// Nothing, for as long as somebody listens.
    Silent,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(behaviour: Behaviour) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let (behaviour, asked) = (Arc::new(Mutex::new(behaviour)), Arc::new(AtomicU64::new(0)));
        let (told, counter) = (behaviour.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, told.clone(), counter.clone()));
            }
        });
        Server { url, behaviour, asked, task }
    }

    pub(super) fn does(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// How many questions came.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, behaviour: Arc<Mutex<Behaviour>>, asked: Arc<AtomicU64>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    assert!(head.starts_with(b"GET /keys HTTP/1.1\r\n"), "{}", String::from_utf8_lossy(&head));
    asked.fetch_add(1, Ordering::SeqCst);
    let behaviour = behaviour.lock().unwrap().clone();
    let _gone = match behaviour {
        Behaviour::Keys(keys) => stream.write_all(&answer(200, "", &keys)).await,
        Behaviour::Bytes(bytes) => stream.write_all(&bytes).await,
        Behaviour::Endless { piece } => {
            let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            let mut sent = stream.write_all(head).await;
            while sent.is_ok() {
                sent = stream.write_all(&vec![b' '; piece]).await;
            }
            sent
        }
        // Until the other side gives up.
        Behaviour::Silent => stream.read(&mut [0]).await.map(|_| ()),
    };
}

/// A whole answer; `more` are headers, each with its end of line.
pub(super) fn answer(status: u16, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}")
        .into_bytes()
}
