//! The Ethernet segment that the guests of one scenario share: a switch inside the test's own process.
//!
//! A guest's card is one end of a socket pair, so nothing of the segment is visible on the machine that runs the test:
//! no interface, no port, no multicast group that another scenario could join.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type Mac = [u8; 6];

/// No frame is larger: cards on the segment do not offload.
const FRAME: usize = 2048;

/// How long a guest that does not read may hold up the one that writes to it.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Switch {
    /// The switch's end of every card. A card that went keeps its place, empty.
    ports: Vec<Option<Arc<UnixDatagram>>>,
    /// Behind which port a station was last heard.
    stations: HashMap<Mac, usize>,
}

/// One private segment.
#[derive(Clone, Debug, Default)]
pub struct Network(Arc<Mutex<Switch>>);

/// A card's place on the segment. The card is off the segment when this is dropped.
#[derive(Debug)]
pub(crate) struct Plug {
    network: Network,
    port: usize,
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.network.switch().ports[self.port] = None;
    }
}

impl Network {
    /// The address of a guest by its name: `server` has 10.77.0.1, `vm1` has 10.77.0.11, and so on. The images know the
    /// same names.
    ///
    /// # Panics
    /// If the name is another one.
    pub fn address(name: &str) -> Ipv4Addr {
        let last = match name.strip_prefix("vm").map(str::parse::<u8>) {
            Some(Ok(number @ 1..=9)) => 10 + number,
            _ if name == "server" => 1,
            _ => panic!("a guest is called server, or vm1 to vm9, not {name}: its address hangs on that"),
        };
        Ipv4Addr::new(10, 77, 0, last)
    }

    /// A new card: the end that QEMU gets, and its place.
    pub(crate) fn plug(&self) -> io::Result<(OwnedFd, Plug)> {
        let (guest, ours) = UnixDatagram::pair()?;
        ours.set_write_timeout(Some(PATIENCE))?;
        // Reading ends with the port; a closed datagram socket does not wake its peer.
        ours.set_read_timeout(Some(Duration::from_secs(1)))?;
        let ours = Arc::new(ours);
        let mut switch = self.switch();
        switch.ports.push(Some(Arc::clone(&ours)));
        let port = switch.ports.len() - 1;
        drop(switch);
        let network = self.clone();
        thread::Builder::new().name(format!("port {port}")).spawn(move || network.carry(port, &ours))?;
        Ok((guest.into(), Plug { network: self.clone(), port }))
    }

    fn switch(&self) -> MutexGuard<'_, Switch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(&self, port: usize, from: &UnixDatagram) {
        let mut frame = [0; FRAME];
        loop {
            let length = match from.recv(&mut frame) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => return,
            };
            let Some(to) = self.ways(port, &frame[..length]) else { return };
            for way in to {
                // Like a real switch: what does not fit is lost, and TCP sends it again.
                let _ = way.send(&frame[..length]);
            }
        }
    }

    /// Where a frame goes. `None` when the port it came from is gone.
    fn ways(&self, port: usize, frame: &[u8]) -> Option<Vec<Arc<UnixDatagram>>> {
        let mut switch = self.switch();
        switch.ports[port].as_ref()?;
        let (Some(to), Some(from)) = (mac(frame, 0), mac(frame, 6)) else { return Some(Vec::new()) };
        switch.stations.insert(from, port);
        let known = switch.stations.get(&to).filter(|_| to[0] & 1 == 0).copied();
        let ports = switch.ports.iter().enumerate();
        let chosen = ports.filter(|(number, _)| *number != port && known.is_none_or(|known| known == *number));
        Some(chosen.filter_map(|(_, way)| way.clone()).collect())
    }
}

fn mac(frame: &[u8], at: usize) -> Option<Mac> {
    frame.get(at..at + 6)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::Network;
    use std::os::unix::net::UnixDatagram;
    use std::time::Duration;

    fn frame(to: u8, from: u8) -> Vec<u8> {
        let mut frame = vec![0; 60];
        // The lowest bit of the first byte marks a frame for everybody.
        frame[0] = if to == 0xff { 0xff } else { 0x52 };
        (frame[5], frame[6], frame[11]) = (to, 0x52, from);
        frame
    }

    fn hears(card: &UnixDatagram) -> Option<Vec<u8>> {
        card.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let mut buffer = [0; 2048];
        card.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec())
    }

    #[test]
    fn a_frame_for_everybody_reaches_the_others_and_an_answer_only_the_one_who_asked() {
        let network = Network::default();
        let cards: Vec<_> = (0..3).map(|_| network.plug().expect("a card")).collect();
        let cards: Vec<(UnixDatagram, _)> = cards.into_iter().map(|(fd, plug)| (fd.into(), plug)).collect();
        cards[0].0.send(&frame(0xff, 1)).expect("sent");
        assert_eq!(hears(&cards[1].0), Some(frame(0xff, 1)));
        assert_eq!(hears(&cards[2].0), Some(frame(0xff, 1)));
        assert_eq!(hears(&cards[0].0), None, "nobody hears themselves");
        cards[1].0.send(&frame(1, 2)).expect("sent");
        assert_eq!(hears(&cards[0].0), Some(frame(1, 2)));
        assert_eq!(hears(&cards[2].0), None);
    }

    #[test]
    #[should_panic(expected = "server, or vm1 to vm9")]
    fn a_guest_without_an_address_is_refused() {
        let _ = Network::address("vm10");
    }
}
