//! Commands on sets.

use crate::failure::Outcome;
use crate::resp::{Args, Reply};
use crate::store::Store;
use crate::value::{Set, bulks};

pub(super) fn sadd<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let set = store.change_or_new::<Set>(args.at(1))?;
    Ok(Reply::count(args.from(2).filter(|member| set.insert((*member).into())).count()))
}

pub(super) fn srem<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    let Some(set) = store.change::<Set>(args.at(1))? else { return Ok(Reply::Integer(0)) };
    let removed = args.from(2).filter(|member| set.remove(*member)).count();
    store.tidy(args.at(1));
    Ok(Reply::count(removed))
}

pub(super) fn smembers<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(bulks(store.read::<Set>(args.at(1))?.into_iter().flatten()))
}

pub(super) fn scard<'a>(store: &'a mut Store, args: &'a Args<'a>) -> Outcome<'a> {
    Ok(Reply::count(store.read::<Set>(args.at(1))?.map_or(0, Set::len)))
}
