//! Tag, length, value: what a card's data are wrapped in.

/// One object. Tags are of one or two bytes, as the card's are.
pub(super) fn object(tag: u16, value: &[u8]) -> Vec<u8> {
    let [high, low] = tag.to_be_bytes();
    let mut object = if high == 0 { vec![low] } else { vec![high, low] };
    match value.len() {
        length @ ..=0x7f => object.extend(length.to_be_bytes().last()),
        length => {
            let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
            object.push(0x82);
            object.extend(length);
        }
    }
    object.extend(value);
    object
}

/// Takes tag and length off the front.
pub(super) fn header(bytes: &mut &[u8]) -> Option<(u16, usize)> {
    let first = byte(bytes)?;
    let tag = if first & 0x1f == 0x1f {
        u16::from_be_bytes([first, byte(bytes)?])
    } else {
        u16::from(first)
    };
    let length = match byte(bytes)? {
        length @ ..=0x7f => usize::from(length),
        0x81 => usize::from(byte(bytes)?),
        0x82 => usize::from(u16::from_be_bytes([byte(bytes)?, byte(bytes)?])),
        _ => return None,
    };
    Some((tag, length))
}

/// Takes that many bytes off the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Takes a whole object off the front.
pub(super) fn next<'a>(bytes: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (tag, length) = header(bytes)?;
    Some((tag, take(bytes, length)?))
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_is_no_object() {
        for bytes in
            [&[][..], &[0x5b], &[0x5b, 2, 0], &[0x7f], &[0x5b, 0x83, 0, 0, 0], &[0x5b, 0x82]]
        {
            assert_eq!(next(&mut &*bytes), None, "{bytes:x?}");
        }
    }

    #[test]
    fn an_object_of_any_length_is_read_back() {
        for (tag, length) in [(0x5b, 0), (0x5b, 127), (0x7f49, 128), (0x6e, 300)] {
            let value = vec![7; length];
            let mut bytes = object(tag, &value);
            bytes.push(9);
            let mut rest = bytes.as_slice();
            assert_eq!(next(&mut rest), Some((tag, value.as_slice())));
            assert_eq!(rest, [9]);
        }
    }
}
