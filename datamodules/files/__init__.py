"""Pictures, videos and mattes as users have them: names, orientation, time stamps, sound, writing."""
