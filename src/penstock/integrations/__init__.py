"""Help for the places where Penstock is used: each module knows one of them."""
