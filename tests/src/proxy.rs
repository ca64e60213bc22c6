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

/// What happens now, how often connections were cut - one that heals is another one - and which are stranded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Now {
    state: State,
    cuts: u64,
    /// Connections older than this stay open and carry nothing any more.
    stranded: u64,
    /// Connections so far.
    made: u64,
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
        let (now, watched) =
            watch::channel(Now { state: State::Flowing, cuts: 0, stranded: 0, made: 0 });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener.expect("listen"), upstream, now.clone(), watched));
        Proxy { port, now, _tasks: tasks }
    }

    /// `127.0.0.1:PORT` of the near end.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Closes all connections, and new ones as soon as they are made.
    pub fn cut(&self) {
        self.now.send_modify(|now| *now = Now { state: State::Cut, cuts: now.cuts + 1, ..*now });
    }

    /// Lets nothing pass in either direction; connections stay open.
    pub fn stall(&self) {
        self.now.send_modify(|now| now.state = State::Stalled);
    }

    /// Lets nothing pass any more over the connections that there are; they stay open, and new ones work.
    pub fn strand(&self) {
        self.now.send_modify(|now| now.stranded = now.made);
    }

    /// Ends `cut` and `stall`.
    pub fn heal(&self) {
        self.now.send_modify(|now| now.state = State::Flowing);
    }
}

async fn accept(
    listener: TcpListener,
    upstream: String,
    count: watch::Sender<Now>,
    now: watch::Receiver<Now>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((near, _)) = accepted {
                    count.send_modify(|now| now.made += 1);
                    let number = count.borrow().made;
                    connections.spawn(forward(near, number, upstream.clone(), now.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(near: TcpStream, number: u64, upstream: String, mut now: watch::Receiver<Now>) {
    let Now { state, cuts, .. } = *now.borrow();
    if state == State::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(upstream).await else { return };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = pump(near_read, far_write, now.clone(), number) => {}
        () = pump(far_read, near_write, now.clone(), number) => {}
        // Also where a pump waits for a reader that does not read.
        _ = now.wait_for(|now| now.cuts != cuts) => {}
    }
}

/// Copies for connection `number` until one end closes, and not while it is stalled.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut now: watch::Receiver<Now>,
    number: u64,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Now { state, stranded, .. } = *now.borrow_and_update();
        let flowing = state == State::Flowing && number > stranded;
        tokio::select! {
            changed = now.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            read = from.read(&mut buffer), if flowing => {
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
        let mut all = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            all.spawn(async move {
                let mut byte = [0];
                while let Ok(1) = stream.read(&mut byte).await {
                    stream.write_all(&byte).await.unwrap();
                }
            });
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
        proxy.strand();
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        for stream in [&mut stream, &mut other] {
            stream.write_all(b"z").await.unwrap();
        }
        other.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"z");
        assert!(stream.try_read(&mut byte).is_err());
    }
}
