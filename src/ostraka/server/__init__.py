"""The server: etcd's services over HTTP/2, health and metrics over HTTP/1.1, and the process around them."""
