//! PURE. Which packets a query wants.
