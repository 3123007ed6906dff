//! What is sent to both servers.

/// Commands, one a line, in the notation of redis-cli. What stands before a bar says how the
/// replies are compared, where it is not byte by byte:
///
/// - `set`, `pairs`, `scan`: the order of elements, of fields with their values, or of the keys of
///   a whole SCAN does not matter;
/// - `s`, `ms`: a time that is left, in this unit;
/// - `form`: only whether it is well-formed, and of the same kind;
/// - a number: so many replies come. Such lines are not for redis-cli, which waits for messages
///   itself.
pub(crate) const SCRIPT: &str = r#"
FLUSHALL
PING
PING hello
PING a b
PiNg "\x00\xff\r\n"
ECHO hello
ECHO ""
ECHO "\x00\x01\xfe\xff"
ECHO
ECHO a b

SET k v
GET k
SET k "\x00binary\r\n\xff"
GET k
STRLEN k
SET "" ""
GET ""
STRLEN ""
SET k v nx
SET new v nx
SET k w xx
SET nokey v xx
GET nokey
SET k v NX XX
SET k v XX NX
SET k v2 GET
SET k v3 nx get
SET k v4 XX GET
SET nokey v GET XX
SET k v EX
SET k v EX 0
SET k v EX -1
SET k v PX 0
SET k v EX abc
SET k v EX 10x
SET k v EX ""
SET k v EX 10 PX 10
SET k v EX 10 KEEPTTL
SET k v KEEPTTL EX 10
SET k v EX abc nonsense
SET k v EX 9223372036854775807
SET k v PX 9223372036854775807
SET k v EX 9223372036854775808
SET k v nonsense
SET k
SET
GET
GET a b
GeT k
s|TTL k
SET k v EX 100
s|TTL k
SET k v EX 50 EX 200
s|TTL k
SET k w KEEPTTL KEEPTTL
s|TTL k
SET k w NX NX
GET k
APPEND k more
s|TTL k
SET k v
s|TTL k
SET k v PX 100000
ms|PTTL k
MSET k 1
ms|PTTL k
SET k v GET EX 100
s|TTL k

DEL k new nokey k
DEL nokey
DEL
SET a 1
EXISTS a a nokey
EXISTS
TYPE a
TYPE nokey
TYPE
TYPE a b

INCR n
INCR n
DECR n
INCRBY n 40
DECRBY n 50
GET n
STRLEN n
INCRBY n -1
INCRBY n abc
INCRBY n 1.5
INCRBY n " 1"
INCRBY n 01
INCRBY n +1
INCRBY n -0
INCRBY n ""
INCRBY n 9223372036854775808
INCRBY n
DECRBY n abc
DECRBY n -9223372036854775808
SET n 9223372036854775807
INCR n
INCRBY n 1
DECRBY n -1
INCRBY n 0
GET n
SET n -9223372036854775808
DECR n
INCRBY n -1
DECRBY n 9223372036854775807
INCR n
SET n " 1"
INCR n
SET n 1x
INCR n
SET n ""
DECR n
SET n 007
INCR n
SET n -0
INCR n
SET n 5
APPEND n 5
INCR n
INCR
INCR a b
DECR
EXPIRE n 100
INCR n
s|TTL n

APPEND ap ""
EXISTS ap
APPEND ap ab
APPEND ap "\x00c"
GET ap
APPEND ap
STRLEN nokey
STRLEN
MSET m1 a m2 "" m1 c
MGET m1 m2 nokey m1
MSET m1
MSET m1 a m2
MGET
MGET m1

RPUSH l a
LPUSH l b c
RPUSH l d "" "\x00"
LRANGE l 0 -1
LRANGE l 0 0
LRANGE l -2 -1
LRANGE l -100 100
LRANGE l 2 1
LRANGE l 100 200
LRANGE l -200 -100
LRANGE l 1 -2
LRANGE l -1 -1
LRANGE l 0 -100
LRANGE l -9223372036854775808 9223372036854775807
LRANGE l 9223372036854775807 9223372036854775807
LRANGE l a 1
LRANGE l 1 b
LRANGE l 0 9223372036854775808
LRANGE l 0
LRANGE nokey 0 -1
LLEN l
LLEN nokey
LLEN
TYPE l
LPOP l
RPOP l
LPOP l 0
LPOP l 2
RPOP l 100
EXISTS l
LPOP l
LPOP l 2
LPOP l 0
RPOP l
LPOP l -1
LPOP l abc
LPOP l 9223372036854775808
LPOP nokey -1
LPOP l 1 2
RPOP l 1 2
LPOP
LPUSH l
RPUSH

HSET h a 1
HSET h a 2 b 3
HSET h "" "" "\x00" "\xff"
HGET h a
HGET h ""
HGET h "\x00"
HGET h nofield
HGET nokey a
HGET h
HSET h a
HSET h a 1 b
HSET h
HLEN h
HLEN nokey
pairs|HGETALL h
HGETALL nokey
HGETALL
TYPE h
HDEL h a nofield a
HDEL nokey a
HDEL h
HDEL h b "" "\x00"
EXISTS h
HLEN h

SADD s a b a
SADD s a c "" "\x00\xff"
SCARD s
SCARD nokey
set|SMEMBERS s
SMEMBERS nokey
TYPE s
SREM s a nomember a
SREM nokey a
SREM s
SADD s
SADD
SREM s b c "" "\x00\xff"
EXISTS s
SADD numbers 3 1 2 10
set|SMEMBERS numbers

SET t text
RPUSH l x
HSET h f v
SADD s m
GET l
GET h
GET s
APPEND l x
STRLEN s
INCR l
DECRBY h 1
SET l v GET
SET l v NX GET
MGET t l h s
LPUSH t x
RPUSH s x
LPOP h
LPOP t 2
RPOP t
LLEN t
LRANGE s 0 -1
HSET l a b
HGET t a
HDEL s a
HGETALL t
HLEN l
SADD t x
SREM l x
SMEMBERS h
SCARD t
TYPE t
SET l overwritten
TYPE l
DEL t l h s

SET e v
EXPIRE e 100
s|TTL e
EXPIRE e 100 NX
EXPIRE e 200 XX
s|TTL e
EXPIRE e 100 GT
EXPIRE e 300 gt
EXPIRE e 400 LT
EXPIRE e 100 lt
s|TTL e
EXPIRE e 50 XX GT
EXPIRE e 50 XX LT
s|TTL e
PERSIST e
PERSIST e
EXPIRE e 100 XX
EXPIRE e 100 GT
EXPIRE e 100 LT
s|TTL e
EXPIRE e 100 nonsense
EXPIRE e abc nonsense
EXPIRE e abc
EXPIRE e 10 NX XX
EXPIRE e 10 NX GT
EXPIRE e 10 GT LT
EXPIRE e 10 NX NX
EXPIRE e 9223372036854775807
EXPIRE e 9223372036854775
EXPIRE e -9223372036854775808
EXPIRE e 9223372036854775808
PEXPIRE e 9223372036854775807
PEXPIRE e 100000
ms|PTTL e
s|TTL e
PEXPIRE e 100000 nx
EXPIRE nokey 10
EXPIRE nokey abc
EXPIRE nokey 10 nonsense
EXPIRE e
PEXPIRE e
PERSIST
PERSIST nokey
TTL nokey
PTTL nokey
PTTL m1
TTL
PTTL a b
EXPIRE e 0
EXISTS e
SET e v
PEXPIRE e -1
GET e
SET e v
PEXPIRE e -9223372036854775808
GET e
RPUSH el a
EXPIRE el 100
LPUSH el b
s|TTL el
LPOP el 2
TTL el

set|KEYS *
FLUSHALL
KEYS *
DBSIZE
MSET one 1 two 2 three 3 h?llo 4 "a[b]" 5 "" 6 "b\\" 7 "\x00\xff" 8
DBSIZE
set|KEYS *
set|KEYS t*
set|KEYS *e
set|KEYS *o*
set|KEYS ???
set|KEYS [ot]*
set|KEYS [^ot]*
set|KEYS [a-o]*
set|KEYS [o-a]*
set|KEYS h\?llo
set|KEYS h?llo
set|KEYS "a\\[b\\]"
set|KEYS *]
set|KEYS "b\\"
set|KEYS "b\\\\"
set|KEYS [
set|KEYS ""
set|KEYS "\x00*"
set|KEYS {one,two}
KEYS
KEYS a b
RPUSH list a
scan|SCAN 0
scan|SCAN 0 COUNT 100
scan|SCAN 0 count 100 match t*
scan|SCAN 0 MATCH * TYPE list COUNT 100
scan|SCAN 0 TYPE string COUNT 100
scan|SCAN 0 TYPE LIST COUNT 100
scan|SCAN 0 COUNT 100 TYPE nonsense
scan|SCAN "" COUNT 100
scan|SCAN +0 COUNT 100
SCAN abc
SCAN 1x
SCAN " 1"
SCAN 18446744073709551616
SCAN 0 COUNT
SCAN 0 COUNT 0
SCAN 0 COUNT -1
SCAN 0 COUNT abc
SCAN 0 MATCH
SCAN 0 nonsense
SCAN 0 COUNT 1 nonsense
SCAN 0 nonsense 1
SCAN
DBSIZE a
FLUSHALL nonsense
FLUSHALL ASYNC SYNC
FLUSHALL sync
FLUSHALL ASYNC
DBSIZE

SELECT 0
SELECT 1
SELECT -1
SELECT abc
SELECT 00
SELECT
SELECT 0 1
PUBLISH channel message
PUBLISH channel
PUBLISH "" ""

MULTI
MULTI
SET a 1
INCR a
LPUSH a x
GET a
MGET a b
RPUSH l 1 2 3
LRANGE l 0 -1
PING
ECHO x
SELECT 0
PUBLISH channel message
EXEC
EXEC
DISCARD
MULTI
EXEC
MULTI
SET a 2
DISCARD
GET a
MULTI
GET a b
SET a 3
EXEC
GET a
MULTI
NONSENSE
SET a 4
EXEC
MULTI
CLIENT nonsense
EXEC
MULTI x
MULTI
DISCARD x
EXEC
EXEC x
MULTI
SET a 5
EXEC x
EXEC
GET a
MULTI
FLUSHALL
SET a 6
DBSIZE
EXEC
MULTI
SET a
EXEC

nonsense
nonsense a b c
NonSense "a\r\nb" "c\x00d" "\xff"
"" a
"a\r\nb"
"a\x00b" c
client|id
GET|a
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx a
nonsense xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy z
CLIENT
CLIENT nonsense
CLIENT ID x
CLIENT SETNAME
CLIENT SETNAME "a b"
CLIENT SETNAME "a\n"
CLIENT SETNAME "\xc3\xa4"
CLIENT GETNAME
CLIENT SETNAME a-name~!
CLIENT GETNAME
client setname ""
CLIENT GETNAME x
CLIENT GETNAME
CLIENT LIST nonsense
form|CLIENT ID
form|CLIENT LIST
form|CLIENT HELP
CONFIG
CONFIG nonsense
CONFIG GET
form|CONFIG GET save
form|CONFIG GET save appendonly
form|CONFIG GET *
form|CONFIG GET nonsense
form|CONFIG HELP
COMMAND nonsense
COMMAND COUNT x
form|COMMAND
form|COMMAND COUNT
form|COMMAND DOCS
form|COMMAND DOCS get nonsense
form|COMMAND INFO get nonsense
form|COMMAND LIST
form|COMMAND HELP
COMMAND DOCS nonsense
COMMAND INFO nonsense
form|INFO
form|INFO server keyspace
form|INFO everything
INFO nonsense

1|UNSUBSCRIBE
1|UNSUBSCRIBE a
2|UNSUBSCRIBE a b
1|SUBSCRIBE
3|SUBSCRIBE a b a
1|PING
1|PING "\xff"
1|PING a b
1|GET a
1|PUBLISH a b
1|MULTI
1|EXEC
1|EXEC x
1|NONSENSE
1|SET a
1|CLIENT ID
1|SUBSCRIBE c
1|UNSUBSCRIBE b
1|UNSUBSCRIBE b
1|UNSUBSCRIBE a
1|SUBSCRIBE ""
1|UNSUBSCRIBE c
1|UNSUBSCRIBE
1|GET a
1|MULTI
1|SUBSCRIBE x
1|UNSUBSCRIBE x
1|SUBSCRIBE y
1|EXEC
1|GET a
1|UNSUBSCRIBE
1|GET a
1|SUBSCRIBE z
1|QUIT a b
"#;

/// What is sent on a connection of its own, as it stands. QUIT follows.
pub(crate) const BYTES: &[&[u8]] = &[
    // Inline commands.
    b"PING\r\n",
    b"PING\n",
    b"  PING  \r\n",
    b"PING\r\r\n",
    b"\r\n\r\n   \r\n\nPING\r\n",
    b"PING \t x\x0by\x0c\r\n",
    b"SET a \"x\\x41\\n\\q\\\"\"\r\nGET a\r\n",
    b"SET a 'x\\x41\\'n\\\\'\r\nGET a\r\n",
    b"SET a b\"c d\"\r\nGET a\r\n",
    b"SET a \"\\x4\\xzz\\x\"\r\nGET a\r\n",
    b"SET a \"\\a\\b\\t\\r\\n\"\r\nGET a\r\n",
    b"ECHO \"\" \r\nECHO ''\r\n",
    b"ECHO \\n\r\n",
    b"$4\r\nPING\r\n",
    b"+OK\r\n-ERR\r\n:1\r\n",
    b"ECHO \"a\r\n",
    b"ECHO 'a\r\n",
    b"ECHO \"a\\\"\r\n",
    b"ECHO \"a\"b\r\n",
    b"ECHO 'a'b\r\n",
    b"ECHO a\"\"b\r\n",
    b"PING\r\nECHO \"\r\nPING\r\n",
    // Requests for nothing.
    b"*0\r\n",
    b"*-1\r\n",
    b"*-5\r\nPING\r\n",
    b"*-9223372036854775808\r\nPING\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*2\r\n$0\r\n\r\n$0\r\n\r\n",
    // Ends of lines that are none.
    b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    b"*1\rx$4\rxPING\r\n",
    // Lengths that are none.
    b"*\r\n",
    b"*abc\r\n",
    b"*1x\r\n",
    b"* 1\r\n",
    b"*+1\r\n",
    b"*01\r\n",
    b"*-0\r\n",
    b"*1.0\r\n",
    b"*2147483648\r\n",
    b"*9223372036854775808\r\n",
    b"*99999999999999999999999999999999999999\r\n",
    b"*1\r\n$\r\n",
    b"*1\r\n$abc\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*1\r\n$+4\r\nPING\r\n",
    b"*1\r\n$ 4\r\nPING\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$9223372036854775808\r\n",
    b"*2\r\n$4\r\nECHO\r\n$-5\r\n",
    // No argument where one should be.
    b"*1\r\nPING\r\n",
    b"*1\r\n:4\r\nPING\r\n",
    b"*1\r\n+PING\r\n",
    b"*1\r\n\r\n",
    b"*1\r\n\r\r\n",
    b"*1\r\n*1\r\n$4\r\nPING\r\n",
    b"*2\r\n$4\r\nECHO\r\nhello\r\n",
    b"*1\r\n$4\r\nPINGPING\r\n",
    b"*1\r\n$2\r\nPING\r\n",
    // What comes behind an error is not served, and what comes before is.
    b"*1\r\n$4\r\nPING\r\n*x\r\n*1\r\n$4\r\nPING\r\n",
    b"SET before 1\r\nGET before\r\n*1\r\n@\r\nGET before\r\n",
    b"MULTI\r\nSET a 1\r\n*1\r\n@\r\n",
    b"SUBSCRIBE a\r\n*1\r\n@\r\n",
    // A browser.
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nFLUSHALL\r\n",
    b"host:\r\nPING\r\n",
];
