//! A wire between client and server that can be cut or go dead.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Carries(u64),
    /// Connections stay open and carry nothing, either way.
    Dead,
}

pub(crate) struct CutWire {
    pub(crate) port: u16,
    wire: Arc<watch::Sender<Wire>>,
    task: JoinHandle<()>,
}

impl CutWire {
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let wire = Arc::new(watch::channel(Wire::Carries(0)).0);
        let shared = Arc::clone(&wire);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                tokio::spawn(carry(client_in, server_out, shared.subscribe()));
                tokio::spawn(carry(server_in, client_out, shared.subscribe()));
            }
        });
        Self { port, wire, task }
    }

    /// Cuts every connection; new ones work.
    pub(crate) fn cut(&self) {
        self.wire.send_modify(|wire| {
            *wire = match *wire {
                Wire::Carries(n) => Wire::Carries(n + 1),
                Wire::Dead => Wire::Carries(0),
            };
        });
    }

    /// Lets nothing through, on old connections and new ones, until `cut`.
    pub(crate) fn die(&self) {
        self.wire.send_replace(Wire::Dead);
    }
}

impl Drop for CutWire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut wire: watch::Receiver<Wire>) {
    let mut buffer = vec![0; 64 * 1024];
    let mut born = *wire.borrow_and_update();
    loop {
        if born == Wire::Dead {
            if wire.changed().await.is_err() {
                return;
            }
            // Whatever comes after death, this connection is over.
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = wire.changed() => {
                let now = *wire.borrow_and_update();
                if now == Wire::Dead {
                    born = now;
                    continue;
                }
                return;
            }
        };
        match read {
            Ok(0) | Err(_) => return,
            Ok(len) => {
                if to.write_all(&buffer[..len]).await.is_err() {
                    return;
                }
            }
        }
    }
}
