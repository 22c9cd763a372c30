//! Ports where nobody listens, and which nobody else can be given.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Bound and never listening: connections are refused, until somebody who was told of the port
/// listens there, as processes and `TcpListener`s may beside this.
pub struct Port {
    pub address: SocketAddr,
    _reserved: TcpSocket,
}

impl Port {
    pub fn reserve() -> Port {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Port {
            address: socket.local_addr().unwrap(),
            _reserved: socket,
        }
    }
}
