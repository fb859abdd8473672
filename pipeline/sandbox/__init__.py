"""A simulator of the DialedIn API on this machine, to rehearse a load against: it calls nobody.

    php        names and values as the gateway's PHP sees them
    texts      every reply, with what is assumed about it
    faults     every way of going wrong
    profiles   how fast it is, and which faults it makes how often
    config     what a sandbox is started with
    state      leads, dials, do-not-call numbers and requests, in one SQLite file
    office     dial lists, playlists, skills, texts, conferences and reloads, in the same file
    dialer     the account that operations work on
    leads      what inserts, updates, searches and do-not-call marks do and answer
    contacts   texts, conferences, agents' availability
    lists      agents' dial lists
    playlists  playlists with their filters; skills
    required   what a request must hold
    operations which operation a request asks for
    plan       which fault a request meets
    connection how a connection is cut
    gauge      what is under way at once
    page       all of it as a page for people
    app        the HTTP side
    serve      the process

It judges nobody's requests with the rules of the sending side, so that the two can disagree.
"""
