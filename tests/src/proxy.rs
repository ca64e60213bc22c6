//! A network connection that can be cut and stalled.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

use crate::ports::Port;

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    /// Connections stay open and nothing passes.
    Stalled,
    /// Connections are closed, new ones at once.
    Cut,
}

/// What happens now, and how often connections were cut: one that heals is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Now {
    state: State,
    cuts: u64,
}

/// Forwards connections of a port of 127.0.0.1 to an address, until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    now: watch::Sender<Now>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Forwards to `upstream`, `127.0.0.1:PORT`.
    pub async fn start(upstream: String) -> Proxy {
        let port = Port::reserve();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).await;
        let (now, watched) = watch::channel(Now { state: State::Flowing, cuts: 0 });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener.expect("listen"), upstream, watched));
        Proxy { port, now, _tasks: tasks }
    }

    /// `127.0.0.1:PORT` of the near end.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Closes all connections, and new ones as soon as they are made.
    pub fn cut(&self) {
        self.now.send_modify(|now| *now = Now { state: State::Cut, cuts: now.cuts + 1 });
    }

    /// Lets nothing pass in either direction; connections stay open.
    pub fn stall(&self) {
        self.now.send_modify(|now| now.state = State::Stalled);
    }

    /// Ends `cut` and `stall`.
    pub fn heal(&self) {
        self.now.send_modify(|now| now.state = State::Flowing);
    }
}

async fn accept(listener: TcpListener, upstream: String, now: watch::Receiver<Now>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    connections.spawn(forward(near, upstream.clone(), now.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(near: TcpStream, upstream: String, mut now: watch::Receiver<Now>) {
    let Now { state, cuts } = *now.borrow();
    if state == State::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(upstream).await else { return };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pump(near_read, far_write, now.clone()) => {}
        () = pump(far_read, near_write, now.clone()) => {}
        // Also where a pump waits for a reader that does not read.
        _ = now.wait_for(|now| now.cuts != cuts) => {}
    }
}

/// Copies until one end closes, and not while it is stalled.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut now: watch::Receiver<Now>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let state = now.borrow_and_update().state;
        tokio::select! {
            changed = now.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = from.read(&mut buffer), if state == State::Flowing => {
                let Ok(n @ 1..) = read else { return };
                if to.write_all(&buffer[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo(listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut byte = [0];
            while let Ok(1) = stream.read(&mut byte).await {
                stream.write_all(&byte).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn forwards_until_it_is_cut() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let upstream = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(echo(listener));
        let proxy = Proxy::start(upstream).await;

        let mut byte = [0];
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"x");
        proxy.cut();
        assert!(!matches!(stream.read(&mut byte).await, Ok(1..)));

        proxy.heal();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"y").await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"y");
    }
}
