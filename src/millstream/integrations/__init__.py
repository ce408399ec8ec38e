"""Help for the places where Millstream is used: each module knows one of them."""
