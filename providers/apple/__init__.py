"""Apple's App Store: purchases made in the app, told by Server Notifications V2, read again by the App Store Server API."""
