//! An `OpenPGP` card that is software, in a reader that is software: everything
//! from `gpg` down to `pcscd` is what people have.

mod applet;
mod key;
mod tlv;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use mig_testkit::until;
use mig_testservices::{Smartcards, pcscd, scdaemon, virtual_reader};

pub use applet::Card;

/// Longest wait for the reader.
const PATIENCE: Duration = Duration::from_secs(10);

/// A reader with a `pcscd` of its own, and the card that belongs to it.
pub struct Reader {
    inserted: Option<Inserted>,
    card: Arc<Mutex<Card>>,
    smartcards: Smartcards,
}

/// The connection that stands for the card's being in the reader.
struct Inserted {
    stream: TcpStream,
    conversation: JoinHandle<()>,
}

impl Reader {
    /// Starts an empty one below `directory`.
    ///
    /// # Errors
    ///
    /// As [`Smartcards::start`].
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        let card = Arc::default();
        Ok(Self { inserted: None, card, smartcards: Smartcards::start(directory)? })
    }

    /// What keeps this machine from having one.
    pub fn missing() -> Option<String> {
        let programs = [pcscd(), virtual_reader(), scdaemon()];
        programs.into_iter().find_map(Result::err).map(|error| error.to_string())
    }

    /// What programs find in `PCSCLITE_CSOCK_NAME`.
    pub fn socket(&self) -> &Path {
        self.smartcards.socket()
    }

    /// The card, wherever it is.
    pub fn card(&self) -> MutexGuard<'_, Card> {
        self.card.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the card in.
    ///
    /// # Errors
    ///
    /// When the reader does not take it.
    pub fn insert(&mut self) -> anyhow::Result<()> {
        self.remove();
        let address = (Ipv4Addr::LOCALHOST, self.smartcards.port());
        // The driver accepts a card only when it looks for one.
        let stream = until("the reader", PATIENCE, || TcpStream::connect(address).ok())?;
        let (mut reader, card) = (stream.try_clone()?, Arc::clone(&self.card));
        let conversation =
            std::thread::spawn(move || while converse(&mut reader, &card).is_ok() {});
        self.inserted = Some(Inserted { stream, conversation });
        Ok(())
    }

    /// Takes the card out, if it is in.
    pub fn remove(&mut self) {
        let Some(Inserted { stream, conversation }) = self.inserted.take() else { return };
        // The reader may have closed it already.
        drop(stream.shutdown(Shutdown::Both));
        drop(conversation.join());
        self.card().reset();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.remove();
    }
}

/// One message of the reader: a length of two bytes and as many bytes, of which
/// a single one is about the power.
fn converse(stream: &mut TcpStream, card: &Mutex<Card>) -> anyhow::Result<()> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    let mut card = card.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match *message {
        // Off, on, reset.
        [0..=2] => {
            card.reset();
            return Ok(());
        }
        [4] => Card::answer_to_reset(),
        _ => card.transmit(&message),
    };
    let length = u16::try_from(answer.len()).context("too long an answer")?;
    stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    Ok(())
}
