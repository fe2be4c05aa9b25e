//! The programs that the lab needs, fetched or built once into a cache outside
//! the checkout.
