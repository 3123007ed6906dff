//! Commands on hashes.

use crate::failure::{Failure, Outcome};
use crate::resp::{Args, Reply};
use crate::store::Store;
use crate::value::Hash;

pub(super) fn hset<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    if args.len() % 2 == 1 {
        return Err(Failure::wrong_number_of_arguments("hset"));
    }
    let hash = store.change_or_new::<Hash>(args.at(1))?;
    let before = hash.len();
    for at in (2..args.len()).step_by(2) {
        hash.insert(args.at(at).into(), args.at(at + 1).into());
    }
    Ok(Reply::count(hash.len() - before))
}

pub(super) fn hget<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let hash = store.read::<Hash>(args.at(1))?;
    Ok(Reply::bulk_or_nil(hash.and_then(|hash| hash.get(args.at(2)))))
}

pub(super) fn hdel<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let Some(hash) = store.change::<Hash>(args.at(1))? else { return Ok(Reply::Integer(0)) };
    let removed = args.from(2).filter(|field| hash.remove(*field).is_some()).count();
    store.tidy(args.at(1));
    Ok(Reply::count(removed))
}

pub(super) fn hgetall<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let hash = store.read::<Hash>(args.at(1))?;
    let pairs = hash.into_iter().flatten();
    Ok(Reply::array(pairs.flat_map(|(field, value)| [field, value]).map(Reply::bulk)))
}

pub(super) fn hlen<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::count(store.read::<Hash>(args.at(1))?.map_or(0, Hash::len)))
}
