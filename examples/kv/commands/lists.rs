//! Commands on lists.

use super::int;
use crate::failure::{Failure, Outcome};
use crate::number;
use crate::resp::{Args, Reply};
use crate::store::Store;
use crate::value::{Bytes, List, bulks};

pub(super) fn lpush<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    push(store, args, List::push_front)
}

pub(super) fn rpush<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    push(store, args, List::push_back)
}

fn push<'a>(store: &mut Store, args: &Args<'_>, push: fn(&mut List, Bytes)) -> Outcome<'a> {
    let list = store.change_or_new::<List>(args.at(1))?;
    args.from(2).for_each(|element| push(list, element.into()));
    Ok(Reply::count(list.len()))
}

pub(super) fn lpop<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    pop(store, args, "lpop", List::pop_front)
}

pub(super) fn rpop<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    pop(store, args, "rpop", List::pop_back)
}

fn pop<'a>(
    store: &mut Store,
    args: &Args<'_>,
    name: &str,
    pop: fn(&mut List) -> Option<Bytes>,
) -> Outcome<'a> {
    if args.len() > 3 {
        return Err(Failure::wrong_number_of_arguments(name));
    }
    let count = match args.from(2).next() {
        Some(text) => Some(pop_count(text)?),
        None => None,
    };
    let Some(list) = store.change::<List>(args.at(1))? else {
        return Ok(if count.is_some() { Reply::NilArray } else { Reply::Nil });
    };
    let reply = match count {
        None => pop(list).map_or(Reply::Nil, Reply::owned),
        Some(count) => {
            let count = count.min(list.len());
            Reply::array((0..count).map_while(|_| pop(list)).map(Reply::owned))
        }
    };
    store.tidy(args.at(1));
    Ok(reply)
}

fn pop_count(text: &[u8]) -> Result<usize, Failure> {
    let count = number::parse(text).and_then(|count| usize::try_from(count).ok());
    count.ok_or(Failure::new("ERR value is out of range, must be positive"))
}

pub(super) fn llen<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::count(store.read::<List>(args.at(1))?.map_or(0, List::len)))
}

pub(super) fn lrange<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let (start, stop) = (int(args.at(2))?, int(args.at(3))?);
    let Some(list) = store.read::<List>(args.at(1))? else { return Ok(Reply::Array(vec![])) };
    let (start, end) = (place(start, list.len()), place(stop.saturating_add(1), list.len()));
    // The one before the first, as the last one, ends before the first.
    let end = if stop == -1 { list.len() } else { end };
    Ok(if start < end { bulks(list.range(start..end)) } else { Reply::Array(vec![]) })
}

/// The place in a list of this length that an index means; a negative one counts from the end.
fn place(index: i64, length: usize) -> usize {
    let from_start = usize::try_from(index).ok();
    let from_end = || {
        let back = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        length.saturating_sub(back)
    };
    from_start.unwrap_or_else(from_end).min(length)
}
