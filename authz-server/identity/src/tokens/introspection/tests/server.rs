//! A server on loopback that answers questions about tokens, each token in the way that a test wants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// A 200 with this body.
    Json(String),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// A 200 with this body, when the test lets go.
    Held(String),
    /// A head, and bytes of the body again and again without end.
    Endless,
    /// The whole head, half of the body, and nothing more.
    Half(String),
}

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) head: String,
    pub(super) form: String,
    pub(super) token: String,
    /// Name and secret, unescaped.
    pub(super) client: String,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) url: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    answers: Mutex<HashMap<String, Answer>>,
    asked: Mutex<Vec<Asked>>,
    count: watch::Sender<usize>,
    release: watch::Sender<bool>,
}

impl Server {
    pub(super) async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        let state = Arc::new(State {
            answers: Mutex::default(),
            asked: Mutex::default(),
            count: watch::channel(0).0,
            release: watch::channel(false).0,
        });
        let served = state.clone();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, served.clone()));
            }
        });
        Server { url, state }
    }

    pub(super) fn answer(&self, token: &str, answer: Answer) {
        self.state.answers.lock().unwrap().insert(token.to_owned(), answer);
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Waits until so many questions came.
    pub(super) async fn wait_for(&self, questions: usize) {
        self.state.count.subscribe().wait_for(|count| *count >= questions).await.unwrap();
    }

    /// Answers what was held.
    pub(super) fn release(&self) {
        self.state.release.send_replace(true);
    }
}

async fn serve(mut connection: TcpStream, state: Arc<State>) {
    let Some(asked) = read(&mut connection).await else { return };
    let answer = state.answers.lock().unwrap().get(&asked.token).cloned();
    state.asked.lock().unwrap().push(asked);
    state.count.send_modify(|count| *count += 1);
    let whole = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    };
    let bytes = match answer.unwrap_or(Answer::Json(r#"{"active":false}"#.to_owned())) {
        Answer::Json(body) => whole(&body),
        Answer::Raw(bytes) => bytes,
        Answer::Held(body) => {
            state.release.subscribe().wait_for(|released| *released).await.unwrap();
            whole(&body)
        }
        Answer::Endless => {
            let _sent = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while connection.write_all(&[b' '; 4096]).await.is_ok() {}
            return;
        }
        Answer::Half(body) => {
            let bytes = whole(&body);
            let _sent = connection.write_all(&bytes[..bytes.len() - body.len() / 2]).await;
            // Until the other side has enough of it.
            let _closed = connection.read(&mut [0; 64]).await;
            return;
        }
    };
    let _sent = connection.write_all(&bytes).await;
}

async fn read(connection: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = connection.read(&mut part).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let Some((head, form)) = text.split_once("\r\n\r\n") else { continue };
        let header = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines
                .filter(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
                .next()
        };
        if form.len() < header("content-length").unwrap().parse::<usize>().unwrap() {
            continue;
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
        let token = pairs.filter(|(name, _)| *name == "token").map(|(_, value)| decoded(value)).next()?;
        let basic = header("authorization").unwrap();
        let basic = STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap();
        let client = decoded(&String::from_utf8(basic).unwrap());
        return Some(Asked { head: head.to_owned(), form: form.to_owned(), token, client });
    }
}
