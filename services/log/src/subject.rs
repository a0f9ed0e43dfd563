//! Every subject of the two logs is built and read here.
