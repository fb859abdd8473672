"""A simulator of the DialedIn API on this machine, to rehearse a load against: it calls nobody.

    php        names and values as the gateway's PHP sees them
    texts      every reply, with what is assumed about it
    faults     every way of going wrong
    profiles   how fast it is, and which faults it makes how often
    config     what a sandbox is started with
    state      leads, dials, do-not-call numbers and requests, in one SQLite file
    dialer     what each operation does and answers
    plan       which fault a request meets
    connection how a connection is cut
    gauge      what is under way at once
    app        the HTTP side
    serve      the process

It judges nobody's requests with the rules of the sending side, so that the two can disagree.
"""
