"""Sans-IO parsers for bytes that come from inside a devbox, or from a resolver.

Every parser here keeps the same contract:

- it takes the bytes received so far and consumes nothing;
- it returns a frozen value, or None for "a valid prefix: read more";
- it raises `WireError`, and nothing else, for all other input;
- its answer does not depend on how the bytes were split into reads, and once there is an
  answer, more bytes do not change it.

`RequestStream` is the one exception: it holds the state of a connection, with a
`HeadScan` that knows how much of a head was seen.

What the bytes of a new connection go through::

    first bytes -> sniff -+-> tls     a ClientHello, across records: server name
                          +-> http1   a request head: host, framing
                          +-> h2c     the preface of cleartext HTTP/2
                          +-> opaque  carries no name that anybody could read
    DNS message -> dns    a question, whole or not at all

The parsers return text as it was sent. They know no policy and no devbox, and they are
where a lie begins: the gateway decides by the name that *we* read, and the server acts on
the name that *it* reads. A server more lenient than we are would read another name than
the one that was checked. So the parsers are strict on purpose, more than the RFCs ask for.
Whatever two implementations are known to read differently is an error: a bare line feed, a
second Host, a length given twice, a duplicated extension, octets that belong to nothing.
"Could not tell" is never "nothing there".

Budgets are in bytes and in pieces. A parser is called again with everything received each
time more arrives, down to one octet at a time, so "read more" costs one pass in C at most,
or one step for each TLS record or field line, of which there are few. The gateway adds
the deadline.

Known weaknesses, which no strictness here can mend:

- TLS hides the HTTP host. A server of an allowed name that answers for other names as well
  ("domain fronting") is trusted to keep them apart; so is one that decrypts a ClientHello
  inside the ClientHello (ECH), of which only the outer name can be read.
- A server that ignores the body of a request which declares one (some do for GET, or after
  refusing an `Expect: 100-continue`) reads our body as its next request.
- Headers that only some servers obey (`X-Forwarded-Host` and its like) are not read.
- A server that is told to take what no standard has for a request line (Apache's
  `HttpProtocolOptions Unsafe LenientMethods`, HAProxy's `accept-invalid-http-request`)
  reads one where others see none, say after an octet that begins no method.
- A protocol that is neither TLS nor HTTP carries no name; the gateway dials the name it
  told the devbox this address for.
"""
