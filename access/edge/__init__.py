"""Edge authorizer: for each request from outside, whether it may pass, and which region it goes to."""
