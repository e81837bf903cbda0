"""Search spaces: modules built with `Choice`s, what one trace finds in them, the networks derived from them."""
