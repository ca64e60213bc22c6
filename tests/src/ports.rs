//! Ports that no other test on this machine uses.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
};

use bygone_base::{Rng, SystemRng};

/// Below the range that the kernel takes ports of outgoing connections from,
/// so that none of those can take one between two starts of a server.
const RANGE: std::ops::Range<u64> = 20_000..32_000;

/// A free port of 127.0.0.1. It stays reserved among all tests (of other
/// processes too) until this is dropped, also while no server listens on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a free port.
    pub fn reserve() -> Port {
        let folder = env::temp_dir().join("bygone-test-ports");
        fs::create_dir_all(&folder).expect("folder of port locks");
        for _ in 0..1000 {
            let number = RANGE.start + SystemRng.next_u64() % (RANGE.end - RANGE.start);
            let number = u16::try_from(number).expect("the range lies below 65536");
            let lock = File::create(folder.join(number.to_string())).expect("port lock");
            let locked = lock.try_lock().is_ok();
            if locked && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Port { number, _lock: lock };
            }
        }
        panic!("no free port found on 127.0.0.1 between {} and {}", RANGE.start, RANGE.end);
    }

    /// The port number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve()).collect();
        let numbers: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
    }
}
