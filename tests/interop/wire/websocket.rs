//! What goes over a WebSocket: frames behind an HTTP request, or its response.

/// One direction of a connection.
#[derive(Default)]
pub struct Frames {
    buffer: Vec<u8>,
    is_past_http: bool,
}

impl Frames {
    /// Whether a direction that begins so is a WebSocket.
    pub fn begin_with(byte: u8) -> bool {
        // `GET`, `HTTP/1.1 101`
        matches!(byte, b'G' | b'H')
    }

    /// What comes when the handshake is over.
    pub fn past_http() -> Self {
        Self { is_past_http: true, ..Self::default() }
    }

    /// Returns the text that is complete with this byte.
    pub fn byte(&mut self, byte: u8) -> Option<Vec<u8>> {
        const TEXT: u8 = 1;
        self.buffer.push(byte);
        if !self.is_past_http {
            self.is_past_http = self.buffer.ends_with(b"\r\n\r\n");
            if self.is_past_http {
                self.buffer.clear();
            }
            return None;
        }
        let [first, second, rest @ ..] = &self.buffer[..] else { return None };
        let short = usize::from(second & 0x7f);
        let (length, rest) = match (short, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [_, _, _, _, a, b, c, d, rest @ ..]) => (u32::from_be_bytes([*a, *b, *c, *d]) as usize, rest),
            (126 | 127, _) => return None,
            (length, rest) => (length, rest),
        };
        let (mask, payload) = match (second & 0x80 != 0, rest) {
            (true, [a, b, c, d, payload @ ..]) => ([*a, *b, *c, *d], payload),
            (true, _) => return None,
            (false, payload) => ([0; 4], payload),
        };
        if payload.len() < length {
            return None;
        }
        let text = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let is_text = first & 0x0f == TEXT;
        self.buffer.clear();
        is_text.then_some(text)
    }
}
