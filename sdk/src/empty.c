// For libraries that wdk-build names and from which wskclient needs nothing.
typedef int wskclient_empty;
