"""A small web shop that records what its visitors do.

    millstream serve &
    MILLSTREAM_HOST=http://127.0.0.1:7070 MILLSTREAM_WRITE_KEY=shop uvicorn examples.shop.app:app

    tracking    the one Analytics of the process
    data        products, users, carts and orders, in memory
    visitors    who is asking: an anonymous id from the first request on, a user once signed in
    pages       HTML, and the place where page views are recorded
    browse      the catalogue                  Products Searched, Product List Viewed, Product Viewed
    buy         the cart and the checkout      Product Added, Product Removed, … Order Completed
    account     people and their companies     alias, identify, group, Signed Up, Signed In
    mobile      what the shop's app asks for   screen
    app         the routes, and the end: what was recorded is delivered before the process goes
    report      counts and times the event calls; only if $SHOP_REPORT names a file

Event and property names are those of Segment's e-commerce specification, because destinations know them.
"""
