//! Ports of this machine that stay a test's own, for servers that cannot be told to choose one and say which.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;

/// Ports that the system gives to nobody by itself: connections, and who asks for any port, get those from 32,768 on.
const PORTS: Range<u16> = 20_000..32_000;

/// A TCP port of the loopback interface that no other test takes as long as this value is there, whether its server runs or not.
///
/// ```text
/// a test                                  another test, or any program's connection
/// finds a free port, lets go of it
///                                         is given the same one
/// starts its server: the port is taken
/// ```
///
/// So the port is one that has to be asked for by its number, and is marked: by a UDP socket with the same number, which is in no TCP server's
/// way, can be had by one program at a time, and is gone with its program however that ends.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _mark: UdpSocket,
}

impl Port {
    /// Takes a port that is free.
    ///
    /// # Panics
    /// When there is none.
    pub fn take() -> Self {
        let count = PORTS.end - PORTS.start;
        // Programs that begin elsewhere do not try each other's ports one after the other.
        let first = RandomState::new().hash_one(()) % u64::from(count);
        (0..count)
            .map(|next| {
                PORTS.start + u16::try_from((first + u64::from(next)) % u64::from(count)).unwrap_or(0)
            })
            .find_map(Self::of)
            .expect("a free port")
    }

    fn of(number: u16) -> Option<Self> {
        let mark = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, number)).ok()?;
        Some(Self { number, _mark: mark })
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_tests_own_and_can_be_listened_on() {
        let port = Port::take();
        assert!(PORTS.contains(&port.number()));
        assert!(Port::of(port.number()).is_none(), "it is taken");
        for _ in 0..2 {
            // As often as a server is started again.
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).expect("it is free");
        }
    }
}
